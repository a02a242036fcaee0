"""A paragraph in each of several languages, for tests of encodings."""

GERMAN = """\
Am Morgen öffnete die Müllerin das Fenster und sah, dass über Nacht Schnee gefallen war. „Heute mahlen wir nicht“,
rief sie ihrem Mann zu, „der Bach ist zugefroren.“ Er zog die dicken Stiefel an, ging hinaus und hörte dem Eis zu,
das leise knackte. Später kamen die Kinder aus dem Dorf, um auf dem Weiher Schlittschuh zu laufen. Die größeren
hielten die kleineren an den Händen, und wer müde wurde, bekam in der Stube heiße Milch und ein Stück Brot. Gegen
Abend färbte sich der Himmel grün und rosa; niemand mochte nach Hause gehen.
"""

FRENCH = """\
Le facteur arrivait toujours à midi, même quand la rivière débordait. Il posait son vélo contre le mur de l’école,
secouait sa pèlerine et demandait : « Où est donc la maîtresse ? » Les élèves répondaient en chœur qu’elle
corrigeait les dictées. Alors il s’asseyait près du poêle, ôtait ses gants et racontait ce qu’il avait vu sur la
route : un héron immobile, une barque abandonnée, des pêcheurs qui ne pêchaient rien. Ça durait un quart d’heure,
jamais plus ; ensuite il repartait, très droit, vers les dernières fermes du plateau, où l’on attendait des
nouvelles.
"""

DUTCH = """\
De oude schipper zat op de kade en keek naar het water. ‘Vóór de storm losbreekt,’ zei hij, ‘moeten we de zeilen
binnenhalen.’ Zijn kleindochter knikte en hield één touw vast, terwijl de hond tussen de kisten liep te snuffelen.
Het begon harder te waaien; boven de dijk vlogen meeuwen als stukken papier. Niemand was naïef genoeg om te denken
dat het mee zou vallen. Ze werkten zwijgend door tot alles vastzat, en pas daarna dronken ze koffie in de kombuis,
met een koekje erbij, zoals hun overgrootouders ook gedaan hadden in zulke zeeën van regen.
"""

SPANISH = """\
Cada mañana, el señor Ibáñez abría la librería antes que nadie y barría la acera con cuidado. ¿Quién va a comprar
libros a estas horas?, le preguntaba la panadera. Él sonreía y decía que también los que no podían dormir
necesitaban una página. Un día entró una niña empapada por la lluvia, pidió un cuento sobre pingüinos y se quedó
leyendo hasta que salió el sol. Años después volvió, ya médica, y le devolvió aquel préstamo con intereses.
"""

SWEDISH = """\
På ön bodde en fyrvaktare som aldrig hade varit i staden. Varje kväll tände han lampan, skrev några rader i dagboken
och kokade gröt åt katten. När dimman låg tät kunde han höra fartygen långt ute, men han såg dem inte. En höst kom
det en båt med två främlingar; de hade gått vilse och frös så att de skakade. Han gav dem torra kläder och berättade
om vädret, och när de for vidare önskade de att de hade kunnat stanna hela vintern.
"""

POLISH = """\
Babcia zawsze mówiła, że najlepsze jabłka rosną za płotem sąsiada. Kiedy przyszła jesień, chłopcy wspięli się na
drzewo i zaczęli zrywać owoce, aż gałęzie trzeszczały. Nagle usłyszeli, że ktoś się śmieje: to sąsiad stał na
ścieżce z koszem w ręku. „Weźcie, ile chcecie — zawołał — ale pomóżcie mi też zbierać gruszki”. Pracowali do późnego
wieczora, a potem wszyscy usiedli w kuchni, gdzie pachniało ciastem i świeżą miętą. Następnego dnia bolały ich ręce,
lecz nikt nie żałował, bo zima miała być długa i mroźna.
"""

CZECH = """\
Když přišel podzim, zahradník zamkl branku a odešel dolů k řece. Voda byla nízká a průzračná, na kamenech seděly
žáby a poslouchaly, jak se vítr honí v listí. Potkal tam holčičku, která hledala ztracenou rukavici. „Počkej, pomůžu
ti,“ řekl a vyhrnul si rukávy. Našli ji až večer pod starým mostem, celou mokrou a špinavou. Doma ji usušili u
kamen, uvařili čaj s medem a dlouho si vyprávěli o tom, co všechno lidé ztrácejí a nacházejí.
"""

RUSSIAN = """\
Вечером в деревне зажглись первые огни, и дед вышел на крыльцо посмотреть на реку. Лёд уже тронулся: большие белые
льдины медленно плыли мимо старой мельницы, сталкивались и поворачивались. «Весна пришла раньше, чем обещали», —
сказал он внуку. Мальчик не ответил, потому что слушал, как далеко за лесом кричат гуси. Потом они вместе чинили
лодку, пили горячий чай и говорили о том, куда поедут летом, когда вода станет тёплой и на берегу снова появятся
рыбаки со своими сетями, песнями и длинными историями.
"""

GREEK = """\
Το καράβι έφτασε στο λιμάνι πριν από την ανατολή του ήλιου. Οι ψαράδες άπλωσαν τα δίχτυα τους στην προκυμαία και
άρχισαν να μιλούν για τον καιρό. Μια γυναίκα με μαύρο μαντίλι ρώτησε αν είδαν τον γιο της στο ανοιχτό πέλαγος.
Κανείς δεν ήξερε τίποτα, αλλά όλοι της έδωσαν κάτι: ένα ψάρι, ένα κομμάτι ψωμί, μια καλή κουβέντα. Το μεσημέρι ο
άνεμος γύρισε, η θάλασσα ησύχασε και στον ορίζοντα φάνηκε ένα μικρό άσπρο πανί που μεγάλωνε αργά, ώσπου όλοι στο
νησί κατάλαβαν ποιος γυρνούσε στο σπίτι του.
"""

JAPANESE = """\
山の上に小さな茶屋がありました。朝になると、おばあさんは湯を沸かし、旅人が来るのを待ちます。雨の日には誰も来ませんが
、それでも火を消しません。
「道に迷った人がいるかもしれないからね」とおばあさんは言いました。ある晩、若い男が雪の中を歩いてきて、戸をたたきまし
た。手は氷のように冷たく、声も出ません。
おばあさんは熱いお茶と味噌汁を出して、朝まで話を聞きました。春になると、その男は桜の苗木を持ってもどってきて、茶屋の
前に植えました。カタカナのメニューもできました。
"""

CHINESE_SIMPLIFIED = """\
村子东边有一座石桥，桥下的水很清，夏天孩子们常在那里捉鱼。老木匠住在桥头，每天早上打开门，先听一听水声，再开始做工。
他说，木头和人一样，都有自己的脾气，急不得。有一年发大水，桥被冲坏了，大家都很着急。老木匠画了一张图，带着年轻人上山
砍树，用了两个月把桥修好。
后来他的孙女到城里读书，写信回来问：“爷爷，桥还好吗？”他回答说，桥很好，就是少了一个爱在桥上唱歌的人。
"""

CHINESE_TRADITIONAL = """\
村子東邊有一座石橋，橋下的水很清，夏天孩子們常在那裡捉魚。老木匠住在橋頭，每天早上打開門，先聽一聽水聲，再開始做工。
他說，木頭和人一樣，都有自己的脾氣，急不得。有一年發大水，橋被沖壞了，大家都很著急。老木匠畫了一張圖，帶著年輕人上山
砍樹，用了兩個月把橋修好。
後來他的孫女到城裡讀書，寫信回來問：「爺爺，橋還好嗎？」他回答說，橋很好，就是少了一個愛在橋上唱歌的人。
"""

KOREAN = """\
언덕 위의 작은 학교에는 학생이 열두 명뿐이었다. 선생님은 아침마다 종을 치고, 난로에 장작을 넣고, 창문에 낀 서리를
닦았다. 눈이 많이 오는 날이면 아이들은 썰매를 타고 왔다. 어느 날 한 아이가 물었다. “선생님, 바다는 정말로 끝이
없나요?” 선생님은 지도를 펴고 손가락으로 먼 길을 따라갔다. 여름이 되자 모두 함께 기차를 타고 바다를 보러 갔고, 아이들은
모래 위에 자기 이름을 크게 썼다.
"""

TURKISH = """\
Köyün sonundaki küçük evde yaşlı bir saatçi otururdu. Her sabah güneş doğmadan kalkar, çayını demler ve “Bugün hangi
saat duracak acaba?” diye düşünürdü. Bir gün kapısına şehirden gelen genç bir kız çıktı; elinde dedesinden kalma,
çalışmayan bir saat vardı. Saatçi gözlüğünü taktı, kapağı açtı ve içindeki tozu üfledi. “İçinde bir ağıt saklı,” dedi
gülerek. Akşama doğru saat yeniden işlemeye başladı, ama kız artık gitmek istemiyordu.
"""

HEBREW = """\
בקצה הרחוב גר איש זקן שתיקן מטריות. בכל בוקר פתח את החנות הקטנה, הניח כיסא ליד הדלת וחיכה לגשם. הילדים שאלו אותו: „מה
אתה עושה בקיץ?” והוא ענה שבקיץ הוא מספר סיפורים על עננים. יום אחד באה ילדה עם מטרייה אדומה ושבורה, ואמרה שסבתא שלה קנתה
אותה לפני שנים רבות. הוא עבד עליה כל הלילה, ובבוקר ירד גשם ראשון על העיר, וכולם יצאו לרקוד.
"""

ARABIC = """\
كان في القرية رجل عجوز يصنع الأقفاص للطيور، لكنه لم يحبس طائرا في حياته. كل صباح كان يفتح دكانه الصغير ويضع الماء والحب
أمام الباب، ثم يجلس وينتظر. سأله الأطفال: لماذا تصنع الأقفاص إذن؟ قال إن القفص الجميل يعلم الناس أن الباب المفتوح أجمل
منه. وفي يوم من الأيام جاءت فتاة من المدينة واشترت كل ما عنده، ثم فتحت الأبواب كلها وعلقتها على الأشجار.
"""

UKRAINIAN = """\
На краю села жила вдова, яка пекла хліб для всієї громади. Щоночі вона розпалювала піч, місила тісто й співала тихих пісень,
щоб воно краще сходило. Якось узимку до неї зайшов замерзлий подорожній і попросив притулку. Він мовчки їв гарячий хліб, а
вранці залишив на столі дерев’яну скриньку. У ній не було ні грошей, ні листа — лише жменя зерна, якого ніхто в окрузі ще
не бачив. Навесні вона посіяла його за хатою, і з того часу їй завжди вистачало борошна.
"""

HUNGARIAN = """\
A tó partján állt egy öreg malom, amelyet évek óta senki sem használt. Egy őszi estén különös fény szűrődött ki az ablakán,
és a falubeliek azt suttogták, hogy visszatért a molnár. A legkisebb fiú, aki semmitől sem félt, bekopogott: „Jó estét, van
itt valaki?” Odabent egy hölgy ült, könyveket rendezett hosszú polcokra, és mosolyogva hívta be. Azóta a malom könyvtár, ahová
esténként összegyűlnek, hogy régi történeteket olvassanak föl egymásnak, amíg a tűz le nem ég.
"""
